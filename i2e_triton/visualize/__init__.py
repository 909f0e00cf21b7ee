"""Pictures of events: animations and contact sheets."""
