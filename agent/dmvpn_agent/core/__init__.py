"""Pure values and functions. No I/O, no clock, no logging, no asyncio: time is passed in."""
