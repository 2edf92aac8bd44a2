"""Look at everything a session needs and say what to do about what is wrong; changes nothing and ends nothing."""
