"""What a request becomes: generations, events, text in reading order."""
