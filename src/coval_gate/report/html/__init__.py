"""The HTML report's contents as data; `report.html.j2`, with its style and script, is the page around them."""
