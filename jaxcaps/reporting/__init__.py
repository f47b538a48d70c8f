"""`report.html`: what a run did and what a person should look at, in one page that opens offline."""
