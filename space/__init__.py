"""The Gradio front end of hfembed: it collects a form, starts `hfembed run` and shows what comes of it."""
