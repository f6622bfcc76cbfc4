"""What a server does with a query before and after somebody knows the answer."""
