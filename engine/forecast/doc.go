// Package forecast tells what a run will take before a device is opened: bytes by unit and class, operations and time of
// a step, traffic of a run over several tabs, and the changes that would make a run fit. The numbers come from the plan
// that training itself uses, so a forecast is the allocation. Imagine makes the files of a known model that nobody has
// downloaded, so that it can be planned too.
package forecast
