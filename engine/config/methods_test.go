package config_test

import (
	_ "llamatab/engine/data" // registers the formats of data
	_ "llamatab/engine/peft" // registers the methods
)
