# A provider for Vagrant whose machines are those of scripts/sandbox. It stands in for VirtualBox and the box: it boots a machine at the address of
# the Vagrantfile's private network, with the user `vagrant`, sudo and sshd, and everything else (ssh, provisioners, halt) is Vagrant's own.
require "open3"
require "vagrant"

module IrisMk8sSandbox
  SCRIPT = File.expand_path("../../scripts/sandbox", __dir__)
  # The machine's name, which is its host name as well
  NAME = ENV.fetch("SANDBOX_MACHINE")

  def self.run(*command)
    output, status = Open3.capture2e(SCRIPT, *command)
    raise "scripts/sandbox #{command.join(" ")}: #{output}" unless status.success?
    output
  end

  def self.root(line)
    run("exec", NAME, "bash", "-c", line)
  end

  class Plugin < Vagrant.plugin("2")
    name "sandbox"

    provider(:sandbox, box_optional: true, priority: 100) { Provider }
  end

  # What a box has in it, made when the machine is: the user, sshd, and the key that everybody knows, which Vagrant replaces.
  class Boot
    def initialize(app, _env)
      @app = app
    end

    def call(env)
      machine = env[:machine]
      address = machine.config.vm.networks.find { |kind, _| kind == :private_network }.last[:ip]
      IrisMk8sSandbox.run("up", NAME, "--ip", address)
      unless machine.id
        machine.id = NAME
        key = File.read(Vagrant.source_root.join("keys/vagrant.pub"))
        IrisMk8sSandbox.root(<<~SHELL)
          set -e
          apt-get update -q
          DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends openssh-server
          useradd -m -s /bin/bash vagrant
          echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/vagrant
          install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
          echo '#{key}' >/home/vagrant/.ssh/authorized_keys
          chown vagrant: /home/vagrant/.ssh/authorized_keys
        SHELL
      end
      @app.call(env)
    end
  end

  class Off
    def initialize(app, _env)
      @app = app
    end

    def call(env)
      IrisMk8sSandbox.run("cut", NAME) if env[:machine].state.id == :running
      @app.call(env)
    end
  end

  class Destroy
    def initialize(app, _env)
      @app = app
    end

    def call(env)
      IrisMk8sSandbox.run("down", NAME)
      env[:machine].id = nil
      @app.call(env)
    end
  end

  class Provider < Vagrant.plugin("2", :provider)
    include Vagrant::Action::Builtin

    def initialize(machine)
      @machine = machine
    end

    def action(name)
      steps = {
        up: [ConfigValidate, Provision, Boot, [WaitForCommunicator, [:running]]],
        provision: [ConfigValidate, Provision],
        halt: [[GracefulHalt, :poweroff, :running], Off],
        destroy: [Destroy],
        ssh_run: [SSHRun],
      }[name] or return nil
      Vagrant::Action::Builder.new.tap { |builder| steps.each { |step| builder.use(*step) } }
    end

    # The LAN is in a network namespace of its own: ssh goes in through the client PC.
    def ssh_info
      return nil unless state.id == :running
      address = @machine.config.vm.networks.find { |kind, _| kind == :private_network }.last[:ip]
      { host: address, port: 22, username: "vagrant", proxy_command: "#{SCRIPT} client socat - TCP:%h:%p" }
    end

    def state
      up = IrisMk8sSandbox.run("list").lines.any? { |line| line.split.first(2) == [NAME, "up"] }
      id = @machine.id ? (up ? :running : :poweroff) : :not_created
      Vagrant::MachineState.new(id, id.to_s, "the sandbox's machine #{NAME} is #{id}")
    end
  end
end
