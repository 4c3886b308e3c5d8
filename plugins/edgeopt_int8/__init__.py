"""Shared code of the backends that write 8-bit integers for x86 processors; not a plugin itself."""
