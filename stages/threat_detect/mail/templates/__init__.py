"""The mail's texts: ``*.html`` are escaped by Jinja2, ``*.txt`` are plain. A package, so that they get installed."""
