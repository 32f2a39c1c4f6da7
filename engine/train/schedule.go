package train

import (
	"llamatab/engine/config"
	"llamatab/engine/optim"
)

// Schedule is the learning-rate schedule of a run of so many steps. Its warm-up is training.warmup_steps, which a setup has
// computed where the config gives it as a part of the run.
func Schedule(t *config.Training, steps int) optim.Schedule {
	s := optim.Schedule{Name: t.Scheduler, Warmup: t.WarmupSteps, Total: steps, BaseLR: t.LearningRate}
	if t.SchedulerKwargs != nil {
		s.ScheduleSettings = optim.ScheduleSettings(*t.SchedulerKwargs)
	}
	return s
}
