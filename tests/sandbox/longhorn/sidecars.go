// The small programs around the plugin: each is Kubernetes' own in Longhorn. They wait for the plugin's socket and elect a leader as those do,
// but ask Longhorn's objects instead of the plugin.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func waitForPlugin(ctx context.Context, path string) error {
	for {
		connection, err := net.Dial("unix", path)
		if err == nil {
			return connection.Close()
		}
		log.Printf("Still connecting to unix://%s", path)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// asLeader runs work in one of the replicas at a time.
func asLeader(ctx context.Context, args []string, lease string, work func(context.Context, *cluster) error) error {
	c, err := connect()
	if err != nil {
		return err
	}
	if err := waitForPlugin(ctx, socketOf(args)); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: lease, Namespace: c.ns}, Client: client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name}},
		ReleaseOnCancel: true, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { stop(work(ctx, c)) },
			OnStoppedLeading: func() { stop(errors.New("failed to renew lease " + c.ns + "/" + lease)) },
		},
	})
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// idleSidecar are the resizer and the snapshotter, for what nothing here asks for.
func idleSidecar(ctx context.Context, args []string) error {
	lease := map[string]string{"csi-resizer": "external-resizer-driver-longhorn-io", "csi-snapshotter": "external-snapshotter-leader-driver-longhorn-io"}
	return asLeader(ctx, args, lease[filepath.Base(os.Args[0])], func(ctx context.Context, _ *cluster) error {
		<-ctx.Done()
		return nil
	})
}

type registrarServer struct {
	registration.UnimplementedRegistrationServer
	endpoint string
	refused  chan string
}

func (r *registrarServer) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: driver, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r *registrarServer) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		r.refused <- s.Error
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// registrar shows kubelet where the plugin is, if kubelet looks into the folder that it was given.
func registrar(ctx context.Context, args []string) error {
	if err := waitForPlugin(ctx, socketOf(args)); err != nil {
		return err
	}
	socket := "/registration/" + driver + "-reg.sock"
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	own := &registrarServer{endpoint: flagOf(args, "kubelet-registration-path"), refused: make(chan string, 1)}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, own)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case why := <-own.refused:
		return fmt.Errorf("registration process failed with error: %s, restarting registration container", why)
	}
}

func answerProbes(listen string) {
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	log.Fatal(http.ListenAndServe(listen, nil))
}

// livenessProbe waits beside the plugin, which answers for itself.
func livenessProbe(ctx context.Context, args []string) error {
	if err := waitForPlugin(ctx, socketOf(args)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
