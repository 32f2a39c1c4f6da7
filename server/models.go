package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"llamatab/server/exit"
	"llamatab/server/hub"
)

// models is the command models: it lists, verifies and removes what the cache has.
func models(_ context.Context, args []string) error {
	f := newFlagSet("models")
	asJSON := f.Bool("json", false, "print the list as JSON")
	verify := f.Bool("verify", false, "read all files and compare them with their checksums")
	remove := f.String("remove", "", "remove the model or adapter of this `NAME`: all of it, or one commit with org/name@commit")
	if err := f.parse(args); err != nil {
		return err
	}
	dir, err := hub.CacheDir()
	if err != nil {
		return exit.Usagef("models: %v", err)
	}
	cache := hub.Cache{Dir: dir}
	if *remove != "" {
		return removeModel(cache, *remove)
	}
	complete, unfinished, err := cache.List()
	if err != nil {
		return err
	}
	if *verify {
		return verifyModels(complete)
	}
	if *asJSON {
		return modelsJSON(os.Stdout, complete, unfinished)
	}
	listModels(os.Stdout, complete, unfinished, dir)
	return nil
}

// removeModel removes what a name means.
func removeModel(cache hub.Cache, text string) error {
	name, err := hub.ParseName(text, "")
	if err != nil {
		return exit.Usagef("models: --remove: %v", err)
	}
	commit := ""
	if strings.Contains(text, "@") {
		found, err := cache.Find(name)
		if e := (*hub.Error)(nil); err != nil && !errors.As(err, &e) { // a damaged one can be removed
			return err
		}
		if commit = name.Revision; found != nil {
			commit = found.Commit
		}
		if len(commit) != 40 {
			return exit.Usagef("models: --remove: the cache has no %s", name)
		}
	}
	bytes, err := cache.Remove(name.Repo, commit)
	if err != nil {
		return err
	}
	if bytes == 0 {
		return exit.Usagef("models: --remove: the cache has no %s", name)
	}
	fmt.Printf("%s is removed: %s\n", name, hub.Bytes(bytes))
	return nil
}

// verifyModels checks all files.
func verifyModels(complete []*hub.Snapshot) error {
	bad := 0
	for _, s := range complete {
		damaged, err := s.Verify()
		if err != nil {
			return err
		}
		if len(damaged) == 0 {
			fmt.Printf("%s, commit %.7s: all %d files are right\n", s.Repo, s.Commit, len(s.Files))
			continue
		}
		bad++
		fmt.Printf("%s, commit %.7s: damaged: %s; llamatab pull %s fetches what is damaged again\n", s.Repo, s.Commit, strings.Join(damaged, ", "), s.Name())
	}
	if bad > 0 {
		return &exit.Error{Code: exit.Failed, Err: fmt.Errorf("%d of %d are damaged", bad, len(complete))}
	}
	return nil
}

// listModels prints a table for people.
func listModels(out io.Writer, complete []*hub.Snapshot, unfinished []hub.Unfinished, dir string) {
	if len(complete)+len(unfinished) == 0 {
		fmt.Fprintf(out, "no models in %s; llamatab pull org/name fetches one\n", dir)
		return
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tREVISION\tCOMMIT\tKIND\tSIZE\tFETCHED\tFROM")
	for _, s := range complete {
		fmt.Fprintf(table, "%s\t%s\t%.7s\t%s\t%s\t%s\t%s\n", s.Repo, strings.Join(s.Revisions, ","), s.Commit, s.Content, hub.Bytes(s.Size()), s.Fetched.Local().Format(time.DateOnly), s.Endpoint)
	}
	for _, u := range unfinished {
		fmt.Fprintf(table, "%s\t\t%.7s\tunfinished\t%s\t\tllamatab pull %s goes on\n", u.Repo, u.Commit, hub.Bytes(u.Bytes), u.Repo)
	}
	table.Flush()
}

// listedModel is a model or an adapter in the JSON list.
type listedModel struct {
	Name      string     `json:"name"`
	Commit    string     `json:"commit"`
	Revisions []string   `json:"revisions"`
	Kind      string     `json:"kind"` // model, adapter or unfinished
	Base      string     `json:"base,omitempty"`
	Bytes     int64      `json:"bytes"`
	Fetched   *time.Time `json:"fetched"`
	Endpoint  string     `json:"endpoint"`
	Folder    string     `json:"folder"`
}

func modelsJSON(out io.Writer, complete []*hub.Snapshot, unfinished []hub.Unfinished) error {
	list := []listedModel{}
	for _, s := range complete {
		list = append(list, listedModel{s.Repo, s.Commit, append([]string{}, s.Revisions...), string(s.Content), s.Base, s.Size(), &s.Fetched, s.Endpoint, s.Dir})
	}
	for _, u := range unfinished {
		list = append(list, listedModel{Name: u.Repo, Commit: u.Commit, Revisions: []string{}, Kind: "unfinished", Bytes: u.Bytes})
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(list)
}
