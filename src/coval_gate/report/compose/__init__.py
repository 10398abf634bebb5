"""Makes the document of a report: the only place where formats' texts, orders, cuts and numbers are computed. Pure."""
