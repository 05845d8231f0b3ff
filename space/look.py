"""The look: one theme for light and dark, with fonts that every system has."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

TITLE = "hfembed"
STYLES = sorted((Path(__file__).parent / "styles").glob("*.css"))
# Gradio puts its own container in front of every rule of `css_paths`; what stands outside it is reached from here.
HEAD = "<style>@media (max-width: 640px) { .gradio-container .fillable.app { padding: 12px !important; } }</style>"
INTRO = """
<header class="hf-intro">
  <h1>hfembed</h1>
  <p>Turn your documents into a search model of your own, and see whether it is better than the one it started from.</p>
</header>
"""


def theme() -> gr.themes.Base:
    """Return the theme of every page."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_title_text_weight="600",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
    )
