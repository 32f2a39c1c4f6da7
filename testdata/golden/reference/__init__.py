"""What torch computes for the runs that llamatab makes: an implementation of its own of Llama, of PEFT 0.13's methods
and of the run contract, to hold the engine against. It shares no code with the engine, transformers or PEFT."""
