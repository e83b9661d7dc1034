"""The page of the site in a browser: reads what the processes show, and commands nothing."""
