package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// TypeError rewrites the error of encoding/json for a value of another type than wanted: it names the key, what stands there
// and what is wanted, without Go's names of types. Other errors stay as they are.
func TypeError(err error) error {
	var te *json.UnmarshalTypeError
	if !errors.As(err, &te) {
		return err
	}
	what := te.Value
	if number, ok := strings.CutPrefix(what, "number "); ok {
		what = number
	} else if word, ok := map[string]string{"string": "a string", "bool": "true or false", "array": "a list", "object": "an object", "number": "a number"}[what]; ok {
		what = word
	}
	if te.Field == "" {
		return fmt.Errorf("the file holds %s, want %s", what, wanted(te.Type))
	}
	return fmt.Errorf("%q is %s, want %s", te.Field, what, wanted(te.Type))
}

// wanted describes the JSON values of a Go type.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
