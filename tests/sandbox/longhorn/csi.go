// The CSI plugin as kubelet calls it: stages a volume (ext4 on /dev/longhorn/VOLUME), publishes it into pods, and takes both back. It mounts in
// its own container; what it mounts below kubelet's folders reaches the host, as far as these are the folders that the deployer was told.
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type plugin struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	csi.UnimplementedControllerServer
	node, version string
}

func csiPlugin(ctx context.Context, args []string) error {
	own, err := ownRelease()
	if err != nil {
		return err
	}
	path := strings.TrimPrefix(flagOf(args, "endpoint"), "unix://")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	p := &plugin{node: flagOf(args, "nodeid"), version: own.version}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, p)
	csi.RegisterNodeServer(server, p)
	csi.RegisterControllerServer(server, p)
	if own.livenessProbe {
		go answerProbes(":9808")
	}
	go func() { <-ctx.Done(); server.Stop() }()
	return server.Serve(listener)
}

func (p *plugin) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driver, VendorVersion: p.version}, nil
}

func (p *plugin) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (p *plugin) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (p *plugin) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: p.node}, nil
}

func (p *plugin) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	able := []*csi.NodeServiceCapability{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS} {
		able = append(able, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}}})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: able}, nil
}

func (p *plugin) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	device, target := "/dev/longhorn/"+r.VolumeId, r.StagingTargetPath
	if _, err := os.Stat(device); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s hasn't been attached yet", r.VolumeId)
	}
	if mounted(target) {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	kind, _ := onHost(ctx, "blkid", "--probe", "--match-tag", "TYPE", "--output", "value", device)
	if strings.TrimSpace(kind) == "" {
		if _, err := onHost(ctx, "mkfs.ext4", "-q", "-F", "-m0", device); err != nil {
			return nil, status.Errorf(codes.Internal, "format of disk %q failed: %v", device, err)
		}
	}
	if busy := takenByMultipath(ctx); busy != "" {
		return nil, status.Errorf(codes.Internal, "mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t ext4 -o defaults %s %s\nOutput: mount: %s: %s already mounted or mount point busy.\n",
			device, target, target, device)
	}
	if err := unix.Mount(device, target, "ext4", 0, ""); err != nil {
		return nil, status.Errorf(codes.Internal, "mount failed: %v\nMounting arguments: -t ext4 -o defaults %s %s", err, device, target)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// takenByMultipath tells whether multipathd would have made the disk its own: it runs, and what it read at its start keeps no /dev/sdX from it.
// The disks here are no SCSI disks, and there is nothing to take; the machine's stand-in for multipathd notes what it would do.
func takenByMultipath(ctx context.Context) string {
	said, _ := onHost(ctx, "cat", "/run/multipathd.takes")
	return strings.TrimSpace(said)
}

func (p *plugin) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
}

func (p *plugin) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	// Whoever asks made the folder above; where it is another folder than the host's, this makes it here, and nobody there sees it.
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := unix.Mount(r.StagingTargetPath, r.TargetPath, "", unix.MS_BIND, ""); err != nil {
		return nil, status.Errorf(codes.Internal, "bind mount of %s at %s: %v", r.StagingTargetPath, r.TargetPath, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (p *plugin) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	return &csi.NodeUnpublishVolumeResponse{}, unmount(r.TargetPath)
}

func (p *plugin) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(r.VolumePath, &s); err != nil {
		return nil, status.Errorf(codes.NotFound, "%s: %v", r.VolumePath, err)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Available: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize, Used: int64(s.Blocks-s.Bfree) * s.Bsize},
		{Unit: csi.VolumeUsage_INODES, Available: int64(s.Ffree), Total: int64(s.Files), Used: int64(s.Files - s.Ffree)},
	}}, nil
}

func mounted(path string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(table), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == path {
			return true
		}
	}
	return false
}

func unmount(path string) error {
	for mounted(path) {
		if err := unix.Unmount(path, 0); err != nil {
			return status.Errorf(codes.Internal, "unmount of %s: %v", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// socketOf is where a sidecar finds the plugin; it waits until somebody answers there.
func socketOf(args []string) string {
	path := flagOf(args, "csi-address")
	if path == "$(ADDRESS)" || path == "" {
		path = os.Getenv("ADDRESS")
	}
	return filepath.Clean(path)
}
