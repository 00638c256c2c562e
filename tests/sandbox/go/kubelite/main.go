// All of Kubernetes in one program: the name it is called by decides which component runs. MicroK8s ships it the same way; for the
// sandbox it also means that the code all components share is linked once instead of six times.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// Kubernetes' own mains import these for their side effects: JSON logs, and the metrics every component serves.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func command(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand()
	}
	return nil
}

func main() {
	name := filepath.Base(os.Args[0])
	// MicroK8s has one process of this name for all of them: whoever looks for a kubelet by its name finds none.
	if name == "kubelite" {
		name = os.Getenv("KUBELITE_COMPONENT")
	}
	c := command(name)
	if c == nil {
		fmt.Fprintf(os.Stderr, "%s is no component of Kubernetes: call this program by a link named kube-apiserver, kubelet, kubectl, ...\n", os.Args[0])
		os.Exit(2)
	}
	os.Exit(cli.Run(c))
}
