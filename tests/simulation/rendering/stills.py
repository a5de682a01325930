"""A world of one picture, to be drawn by every renderer."""

STILL = """<mujoco><visual><headlight ambient=".5 .5 .5" diffuse=".3 .3 .3"/></visual><worldbody>
<light pos="1 -2 6" diffuse=".4 .4 .4"/><camera name="side" pos="0 -5 1.5" xyaxes="1 0 0 0 .2 1" fovy="30"/>
<geom type="plane" size="2 0 .1" rgba=".4 .5 .5 1"/>
<geom type="box" size=".3 .2 .4" pos=".5 .3 .4" euler="10 20 30" rgba=".8 .3 .2 1"/>
<geom type="sphere" size=".3" pos=".1 0 1" rgba="1 1 1 0"/>
<body name="ball" pos="-.5 0 .8"><freejoint/><geom type="sphere" size=".3" rgba=".2 .3 .8 1"/></body>
{extra}</worldbody></mujoco>"""
