// Package python has the values of Python that a template computes with: how they print, compare, add up and are written
// as JSON, as Python 3 does it. Whatever costs time or memory is counted by a Meter, which ends a computation that uses
// too much.
package python
