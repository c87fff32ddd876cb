"""From fields to pictures: sampling rays, compositing, rendering."""
