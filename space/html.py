"""HTML out of plain values; everything that came from outside is escaped here."""

from __future__ import annotations

from html import escape

from hfembed.errors import HfembedError


def tag(name: str, *children: str, **attributes: str) -> str:
    """Return an element around children that are HTML already; `class_` and `aria_label` read as in HTML."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(value: object) -> str:
    """Return a value as text that cannot become markup."""
    return escape(str(value))


def error_box(message: str, hint: str = "") -> str:
    """Return what failed and the next step, in the words of the command line."""
    inner = [tag("p", tag("strong", "Error: "), text(message))]
    if hint:
        inner.append(tag("p", text(hint), class_="hf-hint"))
    return tag("div", *inner, class_="hf-error", role="alert")


def error_of(error: HfembedError) -> str:
    """Return an error as the command line words it."""
    return error_box(error.message, error.hint)


def empty_box(title: str, words: str) -> str:
    """Return what stands where nothing is yet: what will be here, and what to do for it."""
    return tag("div", tag("h3", text(title)), tag("p", text(words)), class_="hf-empty")


def reason_line(words: str) -> str:
    """Return why the button beside it is disabled, or that all is ready."""
    if words:
        return tag("p", text(words), class_="hf-reason", role="status")
    return tag("p", "Ready to launch.", class_="hf-reason hf-ready", role="status")
