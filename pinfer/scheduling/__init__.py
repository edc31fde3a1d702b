"""Which tokens the next pass feeds: batches, admission, prefix cache, memory bound."""
