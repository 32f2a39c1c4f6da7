// Package servertest holds what tests of the program share: they run the built program or one with a stand-in for the
// engine, train with it, and compare what runs leave.
package servertest
