"""Files: written whole or not at all, named by what they hold, in the user's folders."""
