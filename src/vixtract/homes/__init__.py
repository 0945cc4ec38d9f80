"""Reading people's files for the portal, as their owner."""
