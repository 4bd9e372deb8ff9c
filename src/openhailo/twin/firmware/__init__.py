"""The virtual firmware: answers controls, stores applications, runs context lists."""
