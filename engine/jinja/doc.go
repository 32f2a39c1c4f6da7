// Package jinja renders the Jinja templates that language models ship to put a conversation into one text.
//
// It follows Jinja 3.1 in the environment in which transformers renders chat templates: an ImmutableSandboxedEnvironment
// with trim_blocks, lstrip_blocks and loop controls, json.dumps without ASCII escapes as tojson, raise_exception,
// strftime_now and the tags {% generation %} and {% endgeneration %}. Values behave as Python's: None prints as "None",
// text is indexed by characters, a dictionary keeps the order of its keys, and adding a number to a text is an error.
//
// A template is untrusted. Rendering has limits of steps, of bytes that are allocated and of depth, so that a template
// can neither hang nor use up the memory; each ends rendering with an error. Nothing in a template reaches files, the
// network or values that were not given to it.
//
// Tags that load other templates (include, import, extends, block) are refused with their line.
package jinja
