// Package importer reads the settings files of other trainers into a run.json: axolotl, LLaMA-Factory, and scripts around
// transformers' Trainer or TRL's SFTTrainer. A file is YAML or JSON.
//
// A setting is taken over where llamatab has one of the same meaning. Every other setting of the file becomes a Note with the
// line and the reason. A setting that the file leaves out gets the default of the trainer that the file is for, because the
// defaults of trainers differ.
//
// Formats: axolotl, docs/config-reference; LLaMA-Factory, src/llamafactory/hparams; transformers, TrainingArguments; TRL,
// SFTConfig and ModelConfig.
package importer
