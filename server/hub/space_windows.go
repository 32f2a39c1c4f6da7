package hub

import (
	"syscall"
	"unsafe"
)

var getDiskFreeSpaceEx = syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")

// freeSpace is the number of bytes that may be written below a folder, or -1 where the system does not say.
func freeSpace(folder string) int64 {
	path, err := syscall.UTF16PtrFromString(folder)
	if err != nil {
		return -1
	}
	var free uint64
	if ok, _, _ := getDiskFreeSpaceEx.Call(uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&free)), 0, 0); ok == 0 {
		return -1
	}
	return int64(min(free, 1<<62))
}
