"""Files: written atomically, named by their content, in the user's folders."""
