"""ilastik project files."""
