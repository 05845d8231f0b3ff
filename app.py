"""The entry of the Hugging Face Space: build the front end and launch it."""

from hfembed.resources import space_module

if __name__ == "__main__":
    space_module().launch()
