"""What the HTML report shows, as data; `report.html.j2` with its style and its script is the page around it."""
