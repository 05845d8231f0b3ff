"""python -m hfembed is hfembed."""

from hfembed.cli import main

main()
