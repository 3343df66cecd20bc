"""Watches over the running programs: respawns, hung workers, programs that were given up, the record of exits."""
