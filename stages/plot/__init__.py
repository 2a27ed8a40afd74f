"""The stage that shows what the others found: charts, and a page that needs no server."""
