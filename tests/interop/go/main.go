// A service that registers, keeps its lease and prints where its service is.
// usage: web PORT [SERVER]
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/web/musterv1"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func keep(registry pb.RegistryClient, request *pb.RegisterRequest) {
	ctx := context.Background()
	lease := must(registry.Register(ctx, request))
	beats := must(registry.KeepAlive(ctx))
	for {
		beat := &pb.HeartbeatRequest{LeaseHandles: []uint64{lease.LeaseHandle}}
		if err := beats.Send(beat); err != nil {
			log.Fatal(err)
		}
		switch must(beats.Recv()).Outcomes[0] {
		case pb.HeartbeatResponse_UNKNOWN:
			lease = must(registry.Register(ctx, request))
		case pb.HeartbeatResponse_STALE:
			log.Fatal("a newer process has this key")
		}
		time.Sleep(lease.HeartbeatInterval.AsDuration())
	}
}

func main() {
	server := "127.0.0.1:8502"
	if len(os.Args) > 2 {
		server = os.Args[2]
	}
	conn := must(grpc.Dial(server, grpc.WithTransportCredentials(insecure.NewCredentials())))
	life := make([]byte, 16) // this process, as against one that had the port before
	must(rand.Read(life))
	go keep(pb.NewRegistryClient(conn), &pb.RegisterRequest{
		Instance: &pb.Instance{Service: "web", Address: "127.0.0.1", Port: uint32(must(strconv.Atoi(os.Args[1])))},
		LifeId:   life,
		Ttl:      durationpb.New(3 * time.Second),
	})

	watch := must(pb.NewDiscoveryClient(conn).Watch(context.Background()))
	subscribe := &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{SubId: 1, Service: "web"}}
	if err := watch.Send(&pb.WatchRequest{Request: subscribe}); err != nil {
		log.Fatal(err)
	}
	type key struct{ node, id string }
	here := map[key]string{}
	for {
		event := must(watch.Recv())
		if failure := event.GetError(); failure != nil {
			log.Fatal(failure.GetMessage())
		}
		if event.GetReset_() != nil { // a snapshot follows
			here = map[key]string{}
		}
		for _, gone := range event.GetChange().GetRemoved() {
			delete(here, key{gone.Node, gone.Id})
		}
		for _, e := range append(event.GetSnapshot().GetEndpoints(), event.GetChange().GetUpserted()...) {
			here[key{e.Node, e.Id}] = fmt.Sprintf("%s:%d", e.Address, e.Port)
		}
		if event.GetChange() != nil || event.GetSnapshot().GetComplete() {
			line := []string{}
			for _, address := range here {
				line = append(line, address)
			}
			sort.Strings(line)
			fmt.Println("web:", strings.Join(line, " "))
		}
	}
}
