"""What several tutorials share: settings, pictures, networks, and the page of results."""
