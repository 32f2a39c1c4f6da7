package pretrained

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/model"
)

// Describe says what run.json may hold, and of which families its model can be.
func Describe() *message.Description {
	d := config.Describe()
	d.Models = model.Families()
	return d
}
