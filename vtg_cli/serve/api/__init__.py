"""The HTTP interface of the page."""
