package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"llamatab/server/exit"
	"llamatab/server/importer"
	"llamatab/server/job"
)

// importConfig is the command import-config.
func importConfig(_ context.Context, args []string) error {
	f := newFlagSet("import-config")
	out := f.String("o", "", "the run.json `FILE` to write; stdout where it is left out")
	var o importer.Options
	f.StringVar(&o.From, "from", "", "the trainer that the file is for: `NAME` is "+strings.Join(importer.Trainers(), ", ")+"; found by its keys where it is left out")
	f.StringVar(&o.Model, "model", "", "the model `M`, in place of the file's")
	f.StringVar(&o.Dataset, "dataset", "", "the dataset `D`, in place of the file's")
	file := ""
	f.operand = &file
	if err := f.parse(args); err != nil {
		return err
	}
	if file == "" {
		return exit.Usagef("import-config: the FILE is missing; llamatab import-config --help shows the usage")
	}
	if *out != "" {
		if err := outputFile("o", out); err != nil {
			return err
		}
	}
	data, err := readSmall(file)
	if err != nil {
		return exit.Usagef("import-config: %v", err)
	}
	run, from, notes, err := importer.Import(data, o)
	if err != nil {
		return exit.Usagef("import-config: %s: %v", file, err)
	}
	for _, n := range notes {
		fmt.Fprintf(os.Stderr, "%s: %s\n", file, n)
	}
	fmt.Fprintf(os.Stderr, "%s is read as settings for %s. Paths are now relative to the folder of the new file. training.no_decay is set, because Hugging Face's Trainer decays neither norms nor biases\n", file, from)
	if *out == "" {
		_, err := os.Stdout.Write(run)
		return err
	}
	return job.WriteFile(*out, run)
}

// readSmall reads a settings file. It reads no more of a large one than the importer needs to refuse it.
func readSmall(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 2<<20))
}
