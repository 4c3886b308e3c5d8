"""What the backends share that write 8-bit integers for x86 processors; no plugin by itself."""
