"""What a server does with what is asked: readers, lists, articles that come, logins."""
