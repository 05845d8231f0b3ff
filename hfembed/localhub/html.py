"""The plain web pages: one frame, no scripts, everything escaped."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
a { color: #0b57d0 } table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
pre { background: #f5f5f5; padding: 1rem; overflow: auto } nav { margin-bottom: 1rem } small { color: #666 }
input, button { font: inherit; padding: .3rem .8rem } article td, article th { border: 1px solid #ccc; padding: .2rem .5rem }
"""


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """Return a page; `body` is HTML whose parts have been escaped."""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f'<body><nav><a href="/">Local Hub</a></nav>{body}</body></html>'
    )
    # Neither a card nor a file name can make a browser run or load anything.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status, headers)


def link(address: str, text: str) -> str:
    """Return a link."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def table(rows: list[list[str]]) -> str:
    """Return a table of cells that are HTML already."""
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"
