"""IKE_SAs of peers without a binding."""

from dataclasses import replace

from dmvpn_agent.policy.reasons import Reason
from enforcing import REVOKED, Node
from factories import ADDRESS, NBMA, UNITS, request


class TestUnbound:
    """Tunnels without a binding."""

    async def test_it_is_ended_after_a_while(self, node: Node) -> None:
        """Its registration was lost while the agent was down."""
        node.present()
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_a_cache_that_was_not_read_since_says_nothing(self, node: Node) -> None:
        """No IKE_SA ends because nhrpd cannot be read."""
        node.present()
        await node.wait(0)
        node.clock.advance(3600)
        await node.registrations.check()
        assert node.sas.ended == []
        assert node.reads_wanted == 1

    async def test_where_all_bindings_went_at_once_it_is_soon(self, node: Node) -> None:
        """nhrpd lost them all while the tunnels stayed; the last are called as soon as the first."""
        node.present(1)
        node.present(2, "CN=spoke2", address=NBMA + 1)
        units = ("GRE=10.255.0.3", "AS=64513", "NET=192.168.3.0/24")
        other = request(*units, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1)
        for asked in (request(), other):
            node.accept(asked)
        node.bound = frozenset({ADDRESS, ADDRESS + 1})
        await node.wait(0)
        node.bound = frozenset()
        await node.wait(1)
        node.bound = frozenset({ADDRESS})
        await node.wait(4)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [2]

    async def test_one_that_was_accepted_is_soon(self, node: Node) -> None:
        """nhrpd forgot the answer, because another circuit of the peer went at that moment."""
        await node.wait(0)
        node.clock.advance(60)
        node.present()
        node.accept(request())
        await node.wait(0)
        await node.wait(9)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_one_that_was_accepted_late_has_its_time(self, node: Node) -> None:
        """Its IKE_SA was there before: the binding follows the answer, not the IKE_SA."""
        await node.wait(0)
        node.clock.advance(60)
        node.present()
        await node.wait(0)
        await node.wait(20)
        node.accept(request())
        await node.wait(9)
        assert node.sas.ended == []

    async def test_where_many_were_accepted_there_is_no_hurry(self, node: Node) -> None:
        """They are about to register."""
        await node.wait(0)
        node.clock.advance(60)
        for number in range(6):
            node.present(number, address=NBMA + number)
            node.accept(request(protocol_address=ADDRESS, nbma_address=NBMA + number))
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []

    async def test_where_the_tunnel_interface_came_back_it_is_at_once(self, node: Node) -> None:
        """nhrpd dropped all bindings with it, and no peer has noticed."""
        node.present(1, "CN=stranger")
        await node.wait(0)
        node.orphans.link_back()
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_where_one_binding_went_the_others_are_no_reason_to_hurry(self, node: Node) -> None:
        """It may be about to register."""
        node.present(1)
        node.present(2, "CN=stranger", address=NBMA + 1)
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []

    async def test_many_are_ended_a_few_at_a_time(self, node: Node) -> None:
        """Each comes back at once, and has to authenticate."""
        for number in range(1, 26):
            node.present(number, f"CN=spoke{number}", address=NBMA + number)
        await node.wait(0)
        counts = []
        for _ in range(3):
            await node.wait(30)
            counts.append(len(node.sas.ended))
        assert counts == [10, 20, 25]

    async def test_a_bound_peer_is_left(self, node: Node) -> None:
        """However long it is there."""
        node.present()
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        for _ in range(3):
            await node.wait(60)
        assert node.sas.ended == []

    async def test_a_peer_that_nhrpd_forgot_registers_again(self, node: Node) -> None:
        """nhrpd was restarted: the spoke does not know."""
        node.present()
        node.accept(request())
        await node.wait(0)
        await node.wait(30)
        assert node.sas.ended == [1]

    async def test_a_peer_that_the_agent_forgot_registers_again(self, node: Node) -> None:
        """The state directory was lost: nhrpd asks once for a binding, so the peer must register again."""
        node.present()
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(30)
        assert node.sas.ended == [1]

    async def test_a_denied_peer_is_not_this_ones_business(self, node: Node) -> None:
        """It was answered."""
        node.present()
        node.denied.add(request(), replace(REVOKED, reason=Reason.UNKNOWN_INTERFACE))
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []

    async def test_of_two_behind_one_address_the_one_without_a_binding_is_ended(self, node: Node) -> None:
        """The other is bound."""
        node.present(1)
        node.present(2, "CN=neighbour")
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == [2]

    async def test_two_addresses_of_one_peer_do_not_stand_for_two_peers(self, node: Node) -> None:
        """The other one behind its NBMA address has no binding."""
        second = ADDRESS + 5
        units = (*UNITS, f"GRE={second}")
        identity = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, OU=GRE=10.255.0.7, CN=spoke1"
        node.present(1, identity)
        node.present(2, "CN=neighbour")
        for address in (ADDRESS, second):
            node.accept(request(*units, protocol_address=address))
        node.bound = frozenset({ADDRESS, second})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == [2]

    async def test_a_bound_peer_whose_name_we_do_not_know_is_left(self, node: Node) -> None:
        """Names are printed in more ways than we know."""
        node.present(1, "@#c0ffee")
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []

    async def test_one_whose_child_is_not_up_is_waited_for(self, node: Node) -> None:
        """Nothing could register over it yet."""
        node.present(child="CREATED")
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []
