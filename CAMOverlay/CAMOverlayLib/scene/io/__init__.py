"""Between nodes and files or arrays. Here, and nowhere else, K×J×I turns into I×J×K."""
