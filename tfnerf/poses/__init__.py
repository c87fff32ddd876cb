"""From photographs or a video to a capture with the poses of its cameras."""
