"""`vtg mcp`: a server for agents, in the Model Context Protocol."""
